"""Roll-ups on a real database."""


def test_schema(owner):
    assert owner.execute("SELECT count(*) FROM retention").fetchone()[0] > 20
