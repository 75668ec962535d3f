"""${message}."""

from __future__ import annotations

from perdure.schema import install
${imports if imports else ""}
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}


def upgrade() -> None:
    """Install what changed: ``install.replace(revision, "<theme>")`` and the changes of tables."""
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    """The way back: ``install.restore(revision, "<theme>")``."""
    ${downgrades if downgrades else "pass"}
