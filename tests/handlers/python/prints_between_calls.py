import os
import threading
import time


def between():
    while not os.path.exists("go"):
        time.sleep(0.005)
    print("between")
    open("done", "w").close()


def main(event):
    if event == 1:
        os.chdir(os.environ["HOME"])
        threading.Thread(target=between, daemon=True).start()
    return event
