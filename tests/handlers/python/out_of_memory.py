def main(event):
    print("eating")
    eaten = []
    while True:
        eaten.append(bytearray(b"x") * 4_000_000)
