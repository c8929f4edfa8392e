def main(event):
    while True:
        print("all work and no play")
