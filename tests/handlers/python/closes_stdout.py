import os
import sys


def main(event):
    print("said", event)
    sys.stdout.close()
    os.close(1)
    os.close(2)
    return event
