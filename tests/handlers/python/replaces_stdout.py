import io
import sys


def main(event):
    print("said", event)
    sys.stdout = io.StringIO()
    sys.stderr = None
    return event
