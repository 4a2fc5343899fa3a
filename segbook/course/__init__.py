"""The book as a course: checks of a learner's answers, and copies of chapters for students.

from segbook import course
course.check(from_zero, our_from_zero, cases=masks, edges={"all void": void})
"""

from segbook.course.answers import Verdict, check
from segbook.course.sealed import sealed

__all__ = ["Verdict", "check", "sealed"]
