"""What the shop knows, as JSON: the same on every node."""

import json

from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.core.management.base import BaseCommand
from django.db.models import Count, Sum

from release1.models import Customer, Line, Order, Product, Tag


class Command(BaseCommand):
    def handle(self, *args, **options):
        report = {
            "kept": Order.objects.count(),
            "customers": Customer.objects.count(),
            "strayed": Order.objects.filter(lines=None).count(),
            "lines": Line.objects.aggregate(n=Count("id"), quantity=Sum("quantity")),
            "tagged": sorted(Product.objects.annotate(n=Count("tags")).values_list("sku", "n")),
            "attributes": [p.attributes for p in Product.objects.order_by("sku")],
            "tags": Tag.objects.count(),
            "permissions": Permission.objects.filter(content_type__app_label="shop").count(),
            "types": ContentType.objects.filter(app_label="shop").count(),
        }
        self.stdout.write(json.dumps(report, sort_keys=True))
