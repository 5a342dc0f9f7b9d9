"""Evaluation: features -> statistics -> a number, each stage a named function; and the report made of them.

The maths knows only tensors: `moments`, `frechet`, `kernel`, `neighbours`, `memorisation`, `classes`, `intervals`. What
turns images into features is `extractors`. `evaluator` puts a report together; `page` shows it to a person.
"""
