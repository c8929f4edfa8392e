def main(event):
    return {(1, 2): 3}
