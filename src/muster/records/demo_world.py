"""Where the people of the demo workspace come from: names, cities, languages, phone numbers, companies, jobs.

All invented and put together by chance; e-mail and web addresses end in `.example`, which nobody can own. A name may
carry its Latin form for addresses after a bar: "محمد|Mohamed".
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Country:
    """A country with its share of the people (`weight`), and cities as (city, region, language)."""

    code: str
    weight: int
    phone: str
    cities: Sequence[tuple[str, str, str]]
    given: Sequence[str]
    family: Sequence[str]


def _words(text: str) -> Sequence[str]:
    return tuple(text.split())


COUNTRIES: Sequence[Country] = (
    Country(
        code="US",
        weight=30,
        phone="+1202555",
        cities=(
            ("New York", "New York", "en"),
            ("San Francisco", "California", "en"),
            ("Austin", "Texas", "en"),
            ("Chicago", "Illinois", "en"),
            ("Seattle", "Washington", "en"),
            ("Boston", "Massachusetts", "en"),
            ("Miami", "Florida", "es"),
        ),
        given=_words(
            "James Mary Robert Patricia John Jennifer Michael Linda David Elizabeth William Barbara Maria Ashley "
            "Joshua Emily Tyler Hannah Andre Keisha Carlos Grace Ethan Olivia"
        ),
        family=_words(
            "Smith Johnson Williams Brown Jones Garcia Miller Davis Rodriguez Martinez Wilson Anderson Thomas Taylor "
            "Moore Jackson Lee Thompson White Harris Clark Lewis Walker Nguyen"
        ),
    ),
    Country(
        code="FR",
        weight=13,
        phone="+3319900",
        cities=(
            ("Paris", "Île-de-France", "fr"),
            ("Lyon", "Auvergne-Rhône-Alpes", "fr"),
            ("Nantes", "Pays de la Loire", "fr"),
            ("Toulouse", "Occitanie", "fr"),
            ("Lille", "Hauts-de-France", "fr"),
        ),
        given=_words(
            "Camille Léa Manon Chloé Inès Zoé Amélie Élodie Hélène Juliette Lucas Hugo Théo Louis Jérôme François "
            "Antoine Mathieu Benoît Rémi Yanis Noémie"
        ),
        family=_words(
            "Martin Bernard Dubois Thomas Robert Richard Petit Durand Leroy Moreau Lefèvre Girard Mercier Bonnet "
            "Fournier Lambert Rousseau Béranger Besson Guérin"
        ),
    ),
    Country(
        code="GB",
        weight=11,
        phone="+4420794",
        cities=(
            ("London", "England", "en"),
            ("Manchester", "England", "en"),
            ("Bristol", "England", "en"),
            ("Edinburgh", "Scotland", "en"),
            ("Cardiff", "Wales", "en"),
        ),
        given=_words(
            "Oliver George Harry Jack Amelia Isla Poppy Freya Alfie Archie Priya Zara Callum Rhys Imogen Ewan Tom Ruby"
        ),
        family=_words(
            "Smith Jones Taylor Davies Evans Thomas Roberts Walker Wright Hughes Green Hall Patel Khan Campbell "
            "Stewart O'Neill Fraser"
        ),
    ),
    Country(
        code="DE",
        weight=10,
        phone="+4930231",
        cities=(
            ("Berlin", "Berlin", "de"),
            ("Hamburg", "Hamburg", "de"),
            ("München", "Bayern", "de"),
            ("Köln", "Nordrhein-Westfalen", "de"),
            ("Leipzig", "Sachsen", "de"),
        ),
        given=_words(
            "Lukas Jonas Finn Felix Jürgen Björn Stefan Matthias Anna Lena Marie Sophie Käthe Jana Katharina Heike "
            "Murat Ayşe"
        ),
        family=_words(
            "Müller Schmidt Schneider Fischer Weber Meyer Wagner Becker Schulz Hoffmann Schäfer Koch Bauer Krüger "
            "Groß Kaya Kaiser Vogel"
        ),
    ),
    Country(
        code="ES",
        weight=6,
        phone="+3491555",
        cities=(
            ("Madrid", "Madrid", "es"),
            ("Barcelona", "Cataluña", "ca"),
            ("Valencia", "Valencia", "es"),
            ("Sevilla", "Andalucía", "es"),
        ),
        given=_words("Lucía Sofía Martina María Julia Paula Hugo Mateo Álvaro Javier Íñigo Andrés Nerea Jordi"),
        family=_words("García Fernández González Rodríguez López Martínez Sánchez Pérez Gómez Núñez Ruiz Castro Vidal"),
    ),
    Country(
        code="NL",
        weight=5,
        phone="+3120555",
        cities=(
            ("Amsterdam", "Noord-Holland", "nl"),
            ("Rotterdam", "Zuid-Holland", "nl"),
            ("Utrecht", "Utrecht", "nl"),
        ),
        given=_words("Daan Sem Bram Lars Emma Sanne Lotte Femke Anouk Jeroen Thijs Fleur"),
        family=_words("Jansen Bakker Visser Smit Meijer Mulder Bos Vos Peters Hendriks Dekker Brouwer"),
    ),
    Country(
        code="BR",
        weight=6,
        phone="+5511555",
        cities=(
            ("São Paulo", "São Paulo", "pt"),
            ("Rio de Janeiro", "Rio de Janeiro", "pt"),
            ("Recife", "Pernambuco", "pt"),
        ),
        given=_words("João Pedro Gabriel Antônio Mateus Ana Beatriz Larissa Júlia Letícia Thiago Vinícius"),
        family=_words("Silva Santos Oliveira Souza Lima Pereira Ferreira Costa Almeida Araújo Ribeiro Gonçalves"),
    ),
    Country(
        code="CA",
        weight=5,
        phone="+1613555",
        cities=(
            ("Toronto", "Ontario", "en"),
            ("Vancouver", "British Columbia", "en"),
            ("Montréal", "Québec", "fr"),
            ("Québec", "Québec", "fr"),
        ),
        given=_words("Liam Noah Emma Charlotte Mathis Rosalie Félix Aiden Maya Xavier Sarah Gurpreet"),
        family=_words("Tremblay Roy Gagnon Singh Wong Campbell MacDonald Côté Bouchard Chan Wilson Martin"),
    ),
    Country(
        code="IN",
        weight=5,
        phone="+9180555",
        cities=(
            ("Bengaluru", "Karnataka", "en"),
            ("Mumbai", "Maharashtra", "hi"),
            ("Delhi", "Delhi", "hi"),
            ("Chennai", "Tamil Nadu", "ta"),
        ),
        given=_words("Aarav Vihaan Ananya Diya Rohan Priya Kavya Arjun Neha Sanjay Meera Vikram"),
        family=_words("Sharma Patel Reddy Iyer Gupta Nair Singh Mehta Rao Das Kapoor Joshi"),
    ),
    Country(
        code="JP",
        weight=3,
        phone="+8135550",
        cities=(("Tokyo", "Tokyo", "ja"), ("Osaka", "Osaka", "ja"), ("Fukuoka", "Fukuoka", "ja")),
        given=_words("陽菜|Hina 結衣|Yui 葵|Aoi 蓮|Ren 陸|Riku 湊|Minato 美咲|Misaki 健太|Kenta"),
        family=_words("佐藤|Sato 鈴木|Suzuki 高橋|Takahashi 田中|Tanaka 伊藤|Ito 渡辺|Watanabe 中村|Nakamura"),
    ),
    Country(
        code="MA",
        weight=3,
        phone="+2125225",
        cities=(("Casablanca", "Casablanca-Settat", "fr"), ("Rabat", "Rabat-Salé-Kénitra", "ar")),
        given=_words("Youssef Mehdi Anas Salma Imane Ghita Hamza Kenza Zineb Othmane"),
        family=_words("Alaoui Bennani Tazi Berrada Idrissi Chraibi Lahlou Amrani Fassi"),
    ),
    Country(
        code="EG",
        weight=3,
        phone="+2025550",
        cities=(("القاهرة", "القاهرة", "ar"), ("الإسكندرية", "الإسكندرية", "ar")),
        given=_words("محمد|Mohamed أحمد|Ahmed فاطمة|Fatma مريم|Mariam عمر|Omar نور|Nour يوسف|Youssef سارة|Sara"),
        family=_words("حسن|Hassan إبراهيم|Ibrahim علي|Ali منصور|Mansour السيد|Elsayed فاروق|Farouk"),
    ),
)

JOB_TITLES: Sequence[str] = (
    "Head of Revenue Operations",
    "Marketing Manager",
    "Sales Manager",
    "Chief Executive Officer",
    "Founder",
    "Operations Manager",
    "Product Manager",
    "Account Executive",
    "Data Analyst",
    "Software Engineer",
    "Customer Success Manager",
    "Chief Financial Officer",
    "Office Manager",
)

COMPANY_FIRST: Sequence[str] = _words(
    "Amber Birch Blue Bright Cedar Clear Cobalt Copper Coral Crane Dune Ember Falcon Fern Granite Harbor Hazel Iron "
    "Juniper Lark Linden Lunar Maple Meadow Mesa Mint North Oak Opal Otter Pine Quartz Raven River Saffron Sable "
    "Silver Slate Solar Stone Swift Tidal Umber Vale Verdant Walnut Willow Zephyr"
)
COMPANY_SECOND: Sequence[tuple[str, str]] = (
    ("Logistics", "Transportation"),
    ("Analytics", "Software"),
    ("Robotics", "Manufacturing"),
    ("Health", "Health Care"),
    ("Foods", "Consumer Goods"),
    ("Energy", "Energy"),
    ("Finance", "Financial Services"),
    ("Studio", "Media"),
    ("Security", "Software"),
    ("Learning", "Education"),
    ("Homes", "Real Estate"),
    ("Mobility", "Transportation"),
    ("Labs", "Software"),
    ("Retail", "E-commerce"),
)

EMPLOYEE_RANGES: Sequence[tuple[str, str]] = (
    ("1-10", "<$1M"),
    ("11-50", "$1M-$10M"),
    ("51-250", "$10M-$50M"),
    ("251-1K", "$50M-$100M"),
    ("1K-5K", "$100M-$250M"),
)

LEAD_TAGS: Sequence[str] = (
    "newsletter",
    "webinar",
    "demo-requested",
    "pricing-page",
    "event",
    "competitor-user",
    "student",
)
CUSTOMER_TAGS: Sequence[str] = ("annual", "reference", "beta", "discount", "support-plus")
