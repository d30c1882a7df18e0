"""Deploying: a bundle becomes what a platform's own tool takes (docs/deploy.md).

Nothing here talks to a platform. What is written is data, the same bytes for the same bundle, and
the command of the platform's tool is told, not run.
"""

from lamda.deploy.deploy import Deployed as Deployed
from lamda.deploy.deploy import deploy as deploy
from lamda.deploy.deploy import way_to as way_to
from lamda.deploy.platforms import PLATFORMS as PLATFORMS
