"""Statistics of the numeric columns of a CSV text. Standard library only."""

import csv
import io
import statistics


def main(event):
    rows = list(csv.DictReader(io.StringIO(event["csv"]), delimiter=event.get("delimiter", ",")))
    columns = {}
    for name in rows[0] if rows else []:
        values = [number for row in rows if (number := as_number(row[name])) is not None]
        if values:
            columns[name] = {
                "count": len(values),
                "min": min(values),
                "max": max(values),
                "mean": round(statistics.fmean(values), 6),
                "median": statistics.median(values),
            }
    return {"rows": len(rows), "columns": columns}


def as_number(text):
    try:
        return float(text)
    except (TypeError, ValueError):
        return None
