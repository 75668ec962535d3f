"""The engine: both schemas, their tables, functions and operators."""

from __future__ import annotations

from perdure.schema import install

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Install the copies frozen with this revision."""
    install.install(revision)


def downgrade() -> None:
    """Remove everything, the operators included."""
    install.uninstall()
