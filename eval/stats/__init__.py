"""Statistics of evaluation: means, intervals and tests.

Student's t interval, which training uses too, is in ``agemem_envs/util/student.py``.
"""
