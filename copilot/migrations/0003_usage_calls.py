"""Usage that is recorded again counts once. The database fills the column in for code that does not know it."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('copilot', '0002_delivery'),
    ]

    operations = [
        migrations.AddField(
            model_name='usagerecord',
            name='calls',
            field=models.PositiveSmallIntegerField(db_default=1),
        ),
    ]
