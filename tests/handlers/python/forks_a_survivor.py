import os
import signal


def main(event):
    if event == "pid" and os.fork() == 0:
        print("from the survivor")
        os.setsid()
        while True:
            signal.pause()
    return os.getpid()
