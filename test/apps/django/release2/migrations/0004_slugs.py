"""Data: every category gets a slug, every product a weight, every customer the address that notes had."""

from django.db import migrations
from django.utils.text import slugify


def fill(apps, schema_editor):
    Category = apps.get_model("shop", "Category")
    for category in Category.objects.all():
        category.slug = slugify(category.name)
        category.save(update_fields=["slug"])
    apps.get_model("shop", "Product").objects.filter(weight=None).update(weight=0.5)
    Address = apps.get_model("shop", "Address")
    notes = apps.get_model("shop", "Note").objects.select_related("order").order_by("id")
    Address.objects.bulk_create([Address(customer_id=n.order.customer_id, street=n.text) for n in notes])


class Migration(migrations.Migration):
    dependencies = [("shop", "0003_names")]

    operations = [migrations.RunPython(fill, migrations.RunPython.noop)]
