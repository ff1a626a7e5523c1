from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("shop", "0005_tighter")]

    operations = [
        migrations.RemoveField("Order", "legacy_code"),
        migrations.DeleteModel("Note"),
    ]
