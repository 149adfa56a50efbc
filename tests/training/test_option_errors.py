import pytest

from digitnet.training.option_errors import describe_error

UNION = """Parser key "trainer.max_epochs":
  Does not validate against any of the Union subtypes
  Subtypes: [<class 'int'>, <class 'NoneType'>]
  Errors:
    - Expected a <class 'int'>
    - Expected a <class 'NoneType'>
  Given value type: <class 'str'>
  Given value: x"""
CLASS = """Parser key "trainer.logger":

  - Expected a path but Foo either not accessible or invalid
  - Does not validate against any of the Union subtypes
  Subtypes: [<class 'lightning.pytorch.loggers.logger.Logger'>, <class 'bool'>, <class 'NoneType'>]
  Errors:
    - Expected a dot import path string: Foo
    - Expected a <class 'bool'>
    - Expected a <class 'NoneType'>
  Given value type: <class 'str'>
  Given value: Foo"""
CONSTRUCTOR = """Does not validate against any of the Union subtypes
Subtypes: [<class 'digitnet.data.augmentation.Augmentation'>, <class 'NoneType'>]
Errors:
  - rotation of Augmentation is -5.0; it must be 0 or more
  - Expected a <class 'NoneType'>
Given value type: <class 'jsonargparse._namespace.Namespace'>
Given value: Namespace(rotation=-5.0)"""


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (UNION, "trainer.max_epochs is x; expected int"),
        (CLASS, "trainer.logger is Foo; expected the name of a class or bool"),
        (CONSTRUCTOR, "rotation of Augmentation is -5.0; it must be 0 or more"),
        ("two\n  lines", "two lines"),
    ],
)
def test_a_message_is_one_line_with_what_was_received_and_expected(message, expected):
    assert describe_error(ValueError(message)) == expected
