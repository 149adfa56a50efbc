import pytest
import torch
import torch.nn.functional as F

from digitnet.model.views import VIEWS, View, Views, resampling_matrix


@pytest.mark.parametrize("view", [View(1.0, 0.5, -0.25), View(0.9, 0.0, 0.0), View(1.08, -1.0, 0.5), *VIEWS])
def test_a_view_is_what_grid_sample_computes(view):
    torch.manual_seed(0)
    ink = torch.rand(3, 1, 28, 28)
    shift = torch.tensor([view.right, view.down]) / 14 / view.scale  # from -1 to 1 over 28 pixels
    matrix = torch.cat([torch.eye(2) / view.scale, -shift[:, None]], 1)
    grid = F.affine_grid(matrix.expand(3, 2, 3), [3, 1, 28, 28], align_corners=False)
    expected = F.grid_sample(ink, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    torch.testing.assert_close(Views((view,))(ink), expected)


def test_a_view_without_change_is_the_image():
    ink = torch.rand(2, 1, 28, 28)
    torch.testing.assert_close(Views((View(1.0, 0.0, 0.0),))(ink), ink)


def test_the_average_is_taken_over_the_views_of_one_image():
    views = Views((View(1.0, 0.0, 0.0), View(1.0, 0.0, 1.0)))
    ink = torch.zeros(2, 1, 28, 28)
    ink[0, 0, 5, 8], ink[1, 0, 5, 20] = 1.0, 3.0

    def first_columns(images):  # "logits": the ink in ten columns, from the eighth one
        return images[:, 0, :, 8:18].sum(1)

    average = views.average(first_columns(views(ink)))
    assert average.tolist() == [[0.5, 0.5] + [0.0] * 8, [0.0] * 10]


def test_translation_moves_ink_down_and_to_the_right():
    ink = torch.zeros(1, 1, 28, 28)
    ink[0, 0, 10, 12] = 1
    assert Views((View(1.0, 2.0, 3.0),))(ink).nonzero().tolist() == [[0, 0, 12, 15]]


def test_the_rows_of_a_resampling_matrix_interpolate():
    matrix = resampling_matrix(0.9, 0.3)
    inside = matrix[5:23].sum(1)
    torch.testing.assert_close(inside, torch.ones_like(inside))
    assert ((matrix > 0).sum(1) <= 2).all()
