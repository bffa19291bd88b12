"""The words of which invented titles and tags are made; none is taken from a release."""

from __future__ import annotations

from typing import Final

__all__ = ["FIRST", "HOW", "SECOND", "THIRD", "WHAT"]

# Titles: "Silent Café of Paris".
FIRST: Final = (
    "Silent Broken Golden Hidden Last Lost Crimson Distant Empty Frozen Gentle Hollow Iron Lonely "
    "Midnight Northern Paper Quiet Restless Scarlet Secret Sleeping Stolen Summer Tender Unknown Velvet "
    "Wandering Wild Winter Burning Electric"
)
SECOND: Final = (
    "Harbour Garden River Letter Promise Stranger Window Station Orchard Voyage Kingdom Winter Mirror "
    "Shadow Detective Circus Daughter Soldier Summer Island Bridge Machine Lighthouse Café Señor Général "
    "Doctor Ghost Planet Highway Brother Sister"
)
THIRD: Final = (
    "Dawn Dusk Paris Rome Desire Sorrow Midnight Memory Glass Stone Dreams Fire Rain Snow Sand Thunder "
    "Silence Freedom Mars Tomorrow Yesterday Fortune Mercy Honour Fear Love Iron Ashes Autumn Echoes "
    "Night Light Åland Málaga"
)
# Tags: "dark heist".
HOW: Final = (
    "dark quirky slow gritty dreamlike violent touching cheesy brilliant bleak stylish surreal cerebral "
    "tense whimsical nostalgic haunting raunchy epic intimate romantic paranoid satirical poetic brutal "
    "hopeful chilling deadpan lavish minimalist"
)
WHAT: Final = (
    "comedy heist revenge family robots zombies courtroom samurai road-movie small-town time-travel space "
    "war friendship serial-killer musical boxing detective ghosts superhero espionage school vampires "
    "dystopia politics wedding chess dance aliens prison pirates dinosaurs submarine newspaper circus "
    "archaeology opera football"
)
