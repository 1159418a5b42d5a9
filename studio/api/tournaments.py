"""The part of the scripted surface that holds tournaments of editors and routes tasks to their winners."""

from __future__ import annotations

from engines.api.errors import BadInput, NotFound
from engines.api.values import shortened
from studio.api import arguments as arg
from studio.api import tournament_results as of
from studio.api.answers import Answering, answers, parts
from studio.flywheel.enrich import routes
from studio.flywheel.tournament import asking, matrix
from studio.records.payload import TournamentPayload
from studio.records.tournament import Contestant, Contested


class TournamentApi(Answering):
    """Holds the functions of the scripted API for tournaments of editors, and for routing."""

    @answers
    def tournament_plan(
        self,
        character_id: arg.CharacterId,
        tasks: of.Tasks,
        contestants: of.Contestants,
        originals: of.Originals | None = None,
        seeds: of.SeedsEach = asking.SEEDS,
    ) -> of.PlannedTournament:
        """Returns what a tournament asks for and takes: edits, verdicts at most and on average; queues nothing."""
        desk = self._studio.desk(character_id)
        entered = parts("contestants", Contestant, contestants)
        found = asking.plan(desk, parts("tasks", Contested, tasks), entered, originals, seeds)
        told = {name: value for name, value in vars(found).items() if name != "cost"}
        return of.PlannedTournament(**told, seconds=found.cost.seconds, disk_bytes=found.cost.disk_bytes)

    @answers
    def tournament_submit(
        self,
        character_id: arg.CharacterId,
        tasks: of.Tasks,
        contestants: of.Contestants,
        originals: of.Originals | None = None,
        seeds: of.SeedsEach = asking.SEEDS,
        key: arg.Key = "",
    ) -> of.QueuedTournament:
        """Queues a tournament: the contestants make the same edits, which review_next then returns blind."""
        desk = self._studio.desk(character_id)
        entered = parts("contestants", Contestant, contestants)
        job = asking.submit(desk, parts("tasks", Contested, tasks), entered, originals, seeds, key)
        return of.QueuedTournament(**vars(self._queued(job)), tournament_id=TournamentPayload.of(job).tournament)

    @answers
    def tournament_get(self, character_id: arg.CharacterId, tournament_id: of.TournamentId = "") -> of.TournamentState:
        """Returns a tournament's matrix so far: rates with intervals, paired tests, measures, and who won."""
        desk = self._studio.desk(character_id)
        found = matrix.matrix(desk, tournament_id)
        return of.TournamentState(**vars(found), others=tuple(each.id for each in matrix.tournaments(desk)))

    @answers
    def tournament_export(
        self, character_id: arg.CharacterId, format: of.Format = "csv", tournament_id: of.TournamentId = ""
    ) -> of.TournamentFile:
        """Writes a tournament's matrix as a table or as a picture."""
        if format not in FORMATS:
            raise BadInput(f"format cannot be {shortened(format)}.", f"It is one of: {', '.join(FORMATS)}.")
        desk = self._studio.desk(character_id)
        file = FORMATS[format](desk, tournament_id)
        return of.TournamentFile(tournament_id=file.stem, file_path=str(file))

    @answers
    def route_get(self, character_id: arg.CharacterId) -> of.Routes:
        """Returns the tasks whose edits another editor makes than the one in use, and why."""
        desk = self._studio.desk(character_id)
        return of.Routes(routes=tuple(routes.routes(desk).values()), challenge=matrix.challenge(desk))

    @answers
    def route_set(
        self,
        character_id: arg.CharacterId,
        task: of.RouteTask,
        tournament_id: of.TournamentId = "",
        contestant: of.ContestantKey = "",
        follow: of.Follow = False,
    ) -> of.OneRoute:
        """Lets a contestant or the editor in use make a task's edits from now on, or lets tournaments decide again."""
        desk = self._studio.desk(character_id)
        if follow:
            return of.OneRoute(route=routes.follow(desk, task))
        chosen = matrix.matrix(desk, tournament_id).tournament.contestant(contestant) if contestant else None
        if contestant and chosen is None:
            raise NotFound(f"There is no contestant {shortened(contestant)}.", "Take a key of tournament_get.")
        return of.OneRoute(route=routes.choose(desk, task, chosen))


FORMATS = {"csv": matrix.save_csv, "png": matrix.save_png}
