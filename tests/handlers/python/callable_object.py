class Handler:
    def __call__(self, event, context):
        return [event, context.attempt]


main = Handler()
