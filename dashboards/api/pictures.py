"""Pictures that were copied into findings, for who may see such a finding."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Path
from fastapi.responses import FileResponse

from dashboards.api.errors import NotFound
from dashboards.api.findings import SQL
from dashboards.auth import DepsOf, FindingsActor
from dispatch import people
from traffic.pictures import picture_path

router = APIRouter(prefix="/api", tags=["findings"])
_ENDINGS = {"image/jpeg": "jpg", "image/png": "png", "image/webp": "webp"}


@router.get("/pictures/{sha256}", response_class=FileResponse)
async def get_picture(
    actor: FindingsActor, deps: DepsOf, sha256: Annotated[str, Path(pattern=r"^[0-9a-f]{64}$")]
) -> FileResponse:
    """The picture of this hash, if a finding in the viewer's reach has it; each attempt is audited."""
    async with deps.reach.as_viewer(actor.viewer) as connection:
        row = await (await connection.execute(SQL["picture"], {"sha256": bytes.fromhex(sha256)})).fetchone()
        deed = people.deed_of(actor, "see_picture", sha256, "ok" if row else "not found")
        await people.record(connection, deed, deps.settings.clock.now())
    path = picture_path(deps.settings.data_dir, sha256)
    if row is None or row[0] not in _ENDINGS or not await asyncio.to_thread(path.is_file):
        raise NotFound("there is no such picture, or it is not your unit's")
    headers = {
        "Cache-Control": "private, max-age=600",
        "Content-Disposition": f'inline; filename="{sha256[:16]}.{_ENDINGS[row[0]]}"',
        "Cross-Origin-Resource-Policy": "same-origin",
    }
    return FileResponse(path, media_type=row[0], headers=headers)
