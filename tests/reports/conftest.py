from tests.evaluation.conftest import body, make_sequence, network

__all__ = ["body", "make_sequence", "network"]
