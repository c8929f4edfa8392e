"""Reports: ended runs told to the destinations of their functions, `on_success` and `on_failure`.

`outbox` stores them with the end of the run, `record` says what they say, `delivery` sends them. What a report is sent
by is the same queue of rows that invocations have (`backlog`), with its own places in each worker.
"""
