"""Whatever SQLite has no ALTER for: Django makes a new table, copies, drops, renames."""

from django.db import migrations, models
from django.db.models.functions import Lower


class Migration(migrations.Migration):
    dependencies = [("shop", "0004_slugs")]

    operations = [
        migrations.AlterField("Category", "slug", models.SlugField(max_length=120, unique=True)),
        migrations.AlterField("Product", "price", models.DecimalField(decimal_places=2, max_digits=12)),
        migrations.AlterField("Product", "weight", models.FloatField(default=0.0)),
        migrations.AlterUniqueTogether("Line", set()),
        migrations.AddConstraint(
            "Line", models.UniqueConstraint(fields=("order", "product"), name="once_an_order")
        ),
        migrations.AddField("Line", "cents", models.IntegerField(default=0)),
        migrations.AddField(
            "Line",
            "total",
            models.GeneratedField(
                db_persist=True,
                expression=models.F("quantity") * models.F("cents"),
                output_field=models.IntegerField(),
            ),
        ),
        migrations.AddIndex("Product", models.Index(Lower("title"), name="shop_by_title")),
    ]
