# Reports to the server at argv[1] with the published library for apps, as node
# argv[2] of the service "relay eu", until it is killed.
import sys

from vigil_reporter.reporter import VigilReporter

VigilReporter.from_config({
    "url": sys.argv[1],
    "token": "tok/en+secret",
    "probe_id": "relay eu",
    "node_id": sys.argv[2],
    "replica_id": "host/one",
    "interval": 1,
}).start_reporting()
