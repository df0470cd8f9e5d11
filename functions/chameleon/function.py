# SPDX-License-Identifier: Apache-2.0
"""An HTML table rendered from a Chameleon page template (FunctionBench's chameleon).

Initialisation compiles the template. Event: {"rows", "columns", "title"}.
Result: {"rows", "columns", "bytes", "digest"}, and the page itself as "html" if the event asks for it with {"html": true}.
"""

import hashlib

from chameleon import PageTemplate

DEFAULT_ROWS, DEFAULT_COLUMNS = 500, 20
MAX_CELLS = 1_000_000

TEMPLATE = PageTemplate(
    """<html>
<head><title>${options['title']}</title></head>
<body>
<table>
<tr tal:repeat="row options['table']" class="${'odd' if repeat.row.index % 2 else 'even'}">
<td tal:repeat="key row"><span tal:content="key">column</span>: <b tal:content="row[key]">value</b></td>
</tr>
</table>
</body>
</html>"""
)
# Chameleon compiles at the first use: that belongs to the initialisation.
TEMPLATE.cook_check()


def handler(event, context):
    rows = int(event.get("rows", DEFAULT_ROWS))
    columns = int(event.get("columns", DEFAULT_COLUMNS))
    if rows < 0 or columns < 0 or rows * columns > MAX_CELLS:
        raise ValueError(f"rows, columns: {rows} x {columns} is not within 0..{MAX_CELLS} cells")
    table = [{f"c{column}": row * columns + column for column in range(columns)} for row in range(rows)]
    html = TEMPLATE.render(options={"title": str(event.get("title", "Hearth")), "table": table})
    page = html.encode()
    result = {"rows": rows, "columns": columns, "bytes": len(page), "digest": hashlib.sha256(page).hexdigest()}
    if event.get("html"):
        result["html"] = html
    return result
