def main(event):
    loop = []
    loop.append(loop)
    return loop
