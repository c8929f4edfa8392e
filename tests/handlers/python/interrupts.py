def main(event):
    raise KeyboardInterrupt
