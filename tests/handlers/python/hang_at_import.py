import threading

print("loading")
threading.Event().wait()
