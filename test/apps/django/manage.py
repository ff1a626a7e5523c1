"""The usual entry point: python manage.py COMMAND. SHOP_DB is the file, SHOP_RELEASE which release of the shop runs."""

import os
import sys

from django.core.management import execute_from_command_line

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
execute_from_command_line(sys.argv)
