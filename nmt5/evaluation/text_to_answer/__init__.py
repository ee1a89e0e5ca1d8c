"""From a record to the texts a model reads and writes, and from its text back to an answer.

Each module has one kind of task: the forms that mt5 gave its tasks where it had them, and the form
chosen here, with an example, where it had none.
"""
