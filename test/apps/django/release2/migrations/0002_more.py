from django.db import migrations, models
import django.db.models.deletion


class Migration(migrations.Migration):
    dependencies = [("shop", "0001_initial")]

    operations = [
        migrations.AddField("Customer", "phone", models.CharField(blank=True, default="", max_length=30)),
        migrations.AddField("Product", "active", models.BooleanField(default=True)),
        migrations.AddField("Category", "slug", models.SlugField(max_length=120, null=True)),
        migrations.AddField(
            "Category",
            "parent",
            models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, to="shop.category"),
        ),
        migrations.CreateModel(
            name="Address",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("street", models.CharField(max_length=200)),
                ("current", models.BooleanField(default=False)),
                ("customer", models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to="shop.customer")),
            ],
        ),
        migrations.AddConstraint(
            "Address",
            models.UniqueConstraint(
                condition=models.Q(("current", True)), fields=("customer",), name="one_current_address"
            ),
        ),
    ]
