def main(event, context, more):
    return 1
