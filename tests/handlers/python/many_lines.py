def main(event):
    for number in range(10_000):
        print("line", number)
    return "done"
