# SPDX-License-Identifier: Apache-2.0
"""What end-to-end tests, benchmarks and the demo share: certificates, real Dovecot nodes, scripted
nodes, the router as a process, clients. Standard library only. Everything lives in a directory of its
own and is stopped and removed by close()."""

from .clients import Client, exchange
from .dovecot import OAUTH_KEY, DovecotNode, end_process, jwt, read_log
from .load import Load, light_node, paused
from .memory import available_kib, memory_holds, push_at_a_closed_door, rss_kib
from .nodes import NodeConnection, ScriptedNode, destination_toml, node_imap, node_login
from .places import BUILD, ROOT, Workspace, free_port, needs_openssl, service_user, tls_library
from .router import LIST_QUERY, TOKEN, Router, fast_time, parse_logfmt, preloaded
from .waiting import PATIENCE, wait_until

__all__ = (
    "BUILD", "LIST_QUERY", "OAUTH_KEY", "PATIENCE", "ROOT", "TOKEN", "Client", "DovecotNode", "Load",
    "NodeConnection", "Router", "ScriptedNode", "Workspace", "available_kib", "destination_toml",
    "end_process", "exchange", "fast_time", "free_port", "jwt", "light_node", "memory_holds", "needs_openssl", "node_imap", "node_login",
    "parse_logfmt", "paused", "preloaded", "push_at_a_closed_door", "read_log", "rss_kib",
    "service_user", "tls_library", "wait_until")
