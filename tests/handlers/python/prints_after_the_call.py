import threading

GO, DONE = threading.Event(), threading.Event()


def later():
    GO.wait()
    print("late")
    DONE.set()


def main(event):
    if event == 1:
        threading.Thread(target=later, daemon=True).start()
    else:
        GO.set()
        DONE.wait()
    return event
