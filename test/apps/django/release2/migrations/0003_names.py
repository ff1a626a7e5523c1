from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("shop", "0002_more")]

    operations = [
        migrations.RenameField("Customer", "name", "full_name"),
        migrations.RenameModel("Tag", "Label"),
        migrations.AddField("Label", "colour", models.CharField(default="#000000", max_length=7)),
    ]
