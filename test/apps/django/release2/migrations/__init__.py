"""The second release's, behind those of the first."""

import release1.migrations

__path__ = [*__path__, *release1.migrations.__path__]
