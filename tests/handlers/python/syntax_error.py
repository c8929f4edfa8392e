def main(event)
    return 1
