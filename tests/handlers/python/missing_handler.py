def mian(event):
    return 1
