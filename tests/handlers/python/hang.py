import threading


def main(event):
    print("waiting")
    threading.Event().wait()
