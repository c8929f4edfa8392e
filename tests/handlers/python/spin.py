def main(event):
    print("spinning")
    while True:
        pass
