"""What the shop knows, as JSON: the same on every node."""

import json

from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.core.management.base import BaseCommand
from django.db.models import Count, Sum

from release2.models import Address, Category, Customer, Label, Line, Order, Product


class Command(BaseCommand):
    def handle(self, *args, **options):
        report = {
            "kept": Order.objects.count(),
            "customers": Customer.objects.count(),
            "strayed": Order.objects.filter(lines=None).count(),
            "lines": Line.objects.aggregate(n=Count("id"), quantity=Sum("quantity"), total=Sum("total")),
            "tagged": sorted(Product.objects.annotate(n=Count("tags")).values_list("sku", "n")),
            "labels": sorted(Label.objects.values_list("name", "colour")),
            "slugs": sorted(Category.objects.values_list("slug", "parent__slug"), key=str),
            "addresses": sorted(Address.objects.values_list("customer__full_name", "street", "current")),
            "permissions": Permission.objects.filter(content_type__app_label="shop").count(),
            "types": ContentType.objects.filter(app_label="shop").count(),
        }
        self.stdout.write(json.dumps(report, sort_keys=True))
