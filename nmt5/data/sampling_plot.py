"""A drawing of how often a run reads each language or pair."""

from collections.abc import Mapping, Sequence

from nmt5.data.sampling_audit import AuditRow


def epochs_svg(rows: Mapping[str, Sequence[AuditRow]], *, title: str) -> str:
    """Returns a drawing of passes over the text of each language or pair, smallest text first.

    Args:
      rows: `{objective: audit}`.
      title: above it.
    """
    height, left, width, bar = 120, 60, 900, 90
    parts, top = [], 40
    for objective, of_group in rows.items():
        ordered = sorted(of_group, key=lambda row: row.tokens)
        most = max(row.epochs for row in ordered)
        step = width / len(ordered)
        parts.append(f'<text x="{left}" y="{top - 6}">{_escaped(objective)}: passes</text>')
        parts.append(f'<text x="4" y="{top + 10}">{most:.3g}</text>')
        parts.append(f'<text x="4" y="{top + bar}">0</text>')
        for index, row in enumerate(ordered):
            tall = bar * row.epochs / most
            tip = f"{row.name}: {row.epochs:.3g} passes over {row.tokens:,.0f} tokens"
            parts.append(
                f'<rect x="{left + index * step:.1f}" y="{top + bar - tall:.1f}" '
                f'width="{max(step - 0.5, 0.5):.1f}" height="{tall:.1f}">'
                f"<title>{_escaped(tip)}</title></rect>"
            )
        top += height + 20
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + width + 20} {top}" '
        'font-family="sans-serif" font-size="12" fill="#2a5d84">\n'
        f'<text x="4" y="16" font-size="14">{_escaped(title)}</text>\n{body}\n</svg>\n'
    )


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
