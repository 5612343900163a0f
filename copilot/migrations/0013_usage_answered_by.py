"""Who really answered, and whether tokens are estimated. The database fills both in for code that does not know them."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('copilot', '0012_unpruned_turns'),
    ]

    operations = [
        migrations.AddField(
            model_name='usagerecord',
            name='answered_by',
            field=models.CharField(blank=True, db_default='', default='', max_length=200),
        ),
        migrations.AddField(
            model_name='usagerecord',
            name='estimated',
            field=models.BooleanField(db_default=False, default=False),
        ),
    ]
