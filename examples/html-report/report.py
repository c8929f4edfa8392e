"""Renders templates/report.html with what the event brings; text from outside is escaped."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader

PAGES = Environment(loader=FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True, trim_blocks=True)


def main(event):
    page = PAGES.get_template("report.html")
    html = page.render(title=event["title"], items=event.get("items", []))
    return {"statusCode": 200, "headers": {"Content-Type": "text/html; charset=utf-8"}, "body": html}
