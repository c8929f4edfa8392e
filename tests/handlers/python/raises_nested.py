def main(event):
    try:
        {}["key"]
    except KeyError as error:
        raise RuntimeError("outer") from error
